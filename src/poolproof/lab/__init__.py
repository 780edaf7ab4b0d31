"""The processes of a run: keeper, conductor and lab; `launch` is the caller's side.

Nothing is imported here: the keeper lives in this package and must stay small and single-threaded.
"""

__all__: list[str] = []
