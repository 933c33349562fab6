"""What any controller needs: API client, caches, queue, leader election, health. It knows nothing about FineTuneJob."""
