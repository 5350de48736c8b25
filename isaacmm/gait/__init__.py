"""Walking, running and standing clips made from published facts about human gait."""
