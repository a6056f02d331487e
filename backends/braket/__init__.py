"""Amazon Braket: its simulator on this machine, and its devices in the cloud."""
