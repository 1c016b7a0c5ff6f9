"""What surrounds a job: its submission to a cluster, from any machine."""
