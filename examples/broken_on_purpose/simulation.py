"""How the bank answers, and a rule of the company's own."""

from __future__ import annotations

from typing import Any

from payments import bank, books, paid

from interlock import Answer
from interlock.testing.simulation import Request, Seen, Simulation

sim = Simulation()


@sim.answers(bank)
def bank_answers(request: Request, state: dict[str, Any]) -> Answer | int:
    """It keeps transfers, and lists those of an account."""
    if request.method == "POST":
        state.setdefault(request.json["account"], []).append(request.json["reference"])
        return 201
    account = request.target.rpartition("account=")[2]
    references = ",".join(f'"{reference}"' for reference in state.get(account, []))
    return Answer(200, (("content-type", "application/json"),), f"[{references}]".encode())


@sim.invariant
def what_is_booked_is_what_was_paid(seen: Seen) -> None:
    """The books hold each payment once."""
    booked = sorted(entry.json["cents"] for entry in seen.effects(books))
    events = sorted(payment.cents for payment in seen.events(paid))
    dead = sorted(payment.cents for payment in seen.dead("payments.book"))
    assert len(booked) + len(dead) <= len(events), f"{len(events)} payments, and {len(booked)} entries in the books"
