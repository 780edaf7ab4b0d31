"""sessionpool, a session-sticky worker pool: a stub until the prover that will judge it stands."""

__all__: list[str] = []
