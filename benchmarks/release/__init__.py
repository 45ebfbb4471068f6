"""What a release needs: train, ship and show the weights. From a checkout, not in the wheel."""
