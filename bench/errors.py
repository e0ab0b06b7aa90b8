"""The one exception that a user can mend."""


class UserError(Exception):
    """A mistake in the input (settings, files, network) that the user can mend.

    The message is one line that names the thing and says what to do. The command line prints it and
    exits with code 2; every other exception is a defect of ours and keeps its traceback.
    """
