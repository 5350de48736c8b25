"""Pictures without display, GPU or system package: MuJoCo's ray casting and numpy."""
