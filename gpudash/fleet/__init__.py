"""The UI-free heart: polls clouds through lanes, keeps snapshots, changes the world in one place, judges guards."""
