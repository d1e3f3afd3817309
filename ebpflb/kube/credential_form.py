"""What the credentials' child tells its parent: the form of its one line of JSON, and of what it is asked.

Decides the form only. Imported by both: must not import anything large.

    Request --argv--> child --stdout--> Answer (Credentials, or what is wrong)
"""

import msgspec


class Request(msgspec.Struct, frozen=True):
    """Which credentials are wanted."""

    parent: int
    """Process id; the child ends with it."""
    kubeconfig: str = ""
    """Empty: the service account of the pod."""
    context: str = ""
    """Empty: the kubeconfig's current one."""
    server: str = ""
    """Stands in for the server that the kubeconfig names."""
    folder: str = ""
    """Only ours: for files that the package makes of what a kubeconfig holds inline."""


class Endpoint(msgspec.Struct, frozen=True):
    """The API server, and how to know it and be known to it at TLS. What is a path may change on disk."""

    server: str = ""
    """Its URL."""
    verify: bool = True
    authority: str | None = None
    """PEM. Without it and a file: the machine's own authorities."""
    authority_file: str | None = None
    certificate: str | None = None
    """PEM. Without it and a file: no client certificate."""
    certificate_file: str | None = None
    key: str | None = None
    """PEM. Without it and a file: it stands with the certificate."""
    key_file: str | None = None
    tls_server_name: str = ""
    proxy: str = ""
    """URL; what the environment exempts from its proxy has none."""


class Credentials(msgspec.Struct, frozen=True):
    """All that a connection needs."""

    endpoint: Endpoint = msgspec.field(default_factory=Endpoint)
    authorization: str = ""
    """The header's value; empty: there is none."""
    token_file: str = ""
    """Where ``authorization`` was read, if it is to be read again now and then."""
    expires_at: float = 0.0
    """Seconds since the epoch; 0: not known."""
    problem: str = ""
    """Why there is neither a token nor a certificate although there should be; to be tried again."""
    remarks: tuple[str, ...] = ()
    """What the package logged, a line each."""


class Answer(msgspec.Struct, frozen=True):
    """What came of a request: credentials, or an error's words and remedy."""

    credentials: Credentials | None = None
    message: str = ""
    remedy: str = ""
