"""People's journeys through a real browser and a real server."""
