"""The layers around every outgoing call: deadline, breaker, limiter, effect, trace."""
