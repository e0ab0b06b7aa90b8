"""One module a stage; each has run(paths, settings) and writes its outputs only when it is done."""
