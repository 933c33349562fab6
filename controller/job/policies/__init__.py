"""The rules of a job's life, one file each: a policy passes the situation on or ends the pass. Their order is in controller.job.plan."""
