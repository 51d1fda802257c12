"""Reading pages: the walk that proves a window complete, retry and throttle (pure), and the one HTTP client."""
