"""draft"""
def score(tasks, device):
    """The programs that SmolLM2-135M writes for the tasks."""
    from paperworks.data import load_model
    from paperworks.statistics.pac_code.scoring import score_programs

    model, tokenizer = load_model("smollm2-135m-instruct")
    return score_programs(
        model.to(device),
        tokenizer,
        [task.prompt for task in tasks],
        targets=[task.target for task in tasks],
        prefixes=[task.prefix for task in tasks],
        max_tokens=80,
    )
