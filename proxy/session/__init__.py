"""Finding out whose a credential is: verified tokens, remembered for a while."""
