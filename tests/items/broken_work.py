"""Work for the engines' tests that cannot even be imported."""

raise NameError("half a file")
