"""Policy files, profiles, the proof at load, and the one look-up that runs: pure, no I/O but the shipped profiles."""
