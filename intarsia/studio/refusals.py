"""What the studio's server answers when it can't do what was asked: a status, and a sentence for the person at the page."""


class Refusal(Exception):
    """A request that is turned down for another reason than `InputError`.

    status: Of HTTP: 404 for a scene that is no longer kept, 503 for a server that has too much to do, and so on.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
