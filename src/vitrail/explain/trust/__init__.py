"""How far an explanation can be trusted, measured: the parts that `explain.faithfulness` puts together."""
