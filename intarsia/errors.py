"""The one exception that means "what you gave can't be used"; the command line prints it as one line and exits with 2."""


class InputError(ValueError):
    """A setting, path, image or file of the caller's that can't be used. Its text says what was given and what is allowed."""
