"""Records of jobs in Redis, whichever broker carries their messages. Only the scripts in `lua/` change a record."""
