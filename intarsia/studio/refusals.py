"""Refusals: what the studio's server answers if it can't do what was asked, a status and a sentence for the user."""


class Refusal(Exception):
    """A request that is refused for another reason than an `InputError`.

    Args:
        status: The HTTP status: 404 for a scene that is no longer kept, 503 for a busy server, and so on.
        text: The sentence for the user.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
