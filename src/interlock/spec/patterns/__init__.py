"""Patterns of integration as pure reducers `(state, event) -> (state, what to emit)`; delivery runs them."""
