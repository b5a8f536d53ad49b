"""The exception for input that can't be used. The command line prints it as one line and exits with 2."""


class InputError(ValueError):
    """A setting, path, image or file that can't be used. The text says what was given and what is allowed."""
