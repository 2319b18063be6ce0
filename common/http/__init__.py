"""How HTTP requests come in and responses go out."""
