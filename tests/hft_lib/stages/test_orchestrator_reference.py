"""A set's reference on its way through EVOP: from the registry's word to the slot that runs it."""

import msgspec

from hft_lib.events import SlotAssigned
from hft_lib.stage import restore, snapshot
from hft_lib.stages.orchestrator import STAGE
from tests.hft_lib.evop.world import World, config, per_set, registered
from tests.hft_lib.health.made import REFERENCE

UNITS = {"strategy.entry_z": 0.3}


def test_a_slot_is_told_what_its_set_was_calibrated_on_and_a_generated_one_what_its_parent_was():
    made = World(config(units=UNITS), per_set({}))
    champion = registered("champion", 2.0)
    made.post(msgspec.structs.replace(champion, reference=REFERENCE))
    made.post(registered("a", 1.5))
    made.run(1)
    given = {fact.slot: fact.reference for fact in made.of(SlotAssigned)}
    assert given[0] == REFERENCE and given[1] is None
    generated = [
        slot for slot in made.state.pairs[0].slots if slot.role == "explorer" and not slot.alias
    ]
    assert generated and all(given[slot.slot] == REFERENCE for slot in generated)
    again = restore(STAGE, snapshot(made.state))
    assert again.pairs[0].slots[0].reference == REFERENCE
