"""The structure prior: MeanFlow, MeanStruct and its conditions."""
