"""What a user proves who he is with."""

from __future__ import annotations

import base64

from udocker.model.value import value


@value
class Credential:
    """A user name and password, or an identity token that stands for both."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return "Credential(…)"

    @property
    def pair(self) -> str:
        """``user:password`` in base64, as the ``auth`` of a login file has it."""
        text = f"{self.user}:{self.password}".encode("utf-8", "surrogateescape")
        return base64.b64encode(text).decode()

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return f"Basic {self.pair}"
