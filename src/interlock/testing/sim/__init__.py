"""The simulator: the production engine on virtual time, with a seeded order of everything and faults of every kind."""
