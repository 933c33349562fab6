"""The controller: turns FineTuneJobs into Ray jobs, and what those report into status. Also the `finetune` command."""
