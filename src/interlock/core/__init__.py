"""The floor: pure values and decisions. No I/O, no clock, no asyncio, and no third party but msgspec."""
