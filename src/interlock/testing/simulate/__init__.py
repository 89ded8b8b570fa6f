"""The simulator for users' integrations: their functions on the production engine, under faults drawn from a seed."""
