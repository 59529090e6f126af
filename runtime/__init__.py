"""What runs on the deployed machines. Imports no Pulumi."""
