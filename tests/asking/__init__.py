"""How each pattern is asked: requests that work, their right answers, and what a service has counted."""
