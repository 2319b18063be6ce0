"""Work that outlasts its request: accepted, asked about, fetched later."""
