"""What a deploy does: diff, plan, catalog, requests."""
