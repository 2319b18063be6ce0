"""web_single: one small model in one web API."""
