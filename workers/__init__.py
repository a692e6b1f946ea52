"""What RQ runs: jobs, the worker class, shifts, and the scheduler."""
