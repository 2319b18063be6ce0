"""Work that goes on after its request: it is submitted, its state is asked for, and its result is fetched later.

- `record.py`: one job: its states and the allowed moves between them, its deadline, its outcome.
- `store.py`: where records are kept, and the store in memory.
- `interface.py`: `Jobs`, all that the HTTP routes know: submit, find, wait, cancel.
- `http.py`: the routes /jobs/{id}, the `Prefer` header, and the response 202 that hands a request over to a job.
- `in_process.py`: `Jobs` that run in this process, and end with it.
- `durable.py`: `Jobs` that outlive it: `redis/` keeps their records, `worker.py` does the work, and a broker
  (`queue.py`, `brokers/`) carries messages, which only wake a worker.
"""
