"""The brokers that carry the messages of jobs, each in a module of its own behind `common.jobs.queue.Queue`."""
