# What jobs ask of a scheduler: memory, time, cores.
def growing(amount):
    """What a job asks of a scheduler: the amount, or what it is for the wildcards, times the attempt.

    A job that is ended at a limit of memory or time gets more when it is tried again (`retries` in a profile).
    """

    def asked(wildcards, attempt):
        return attempt * (amount(wildcards) if callable(amount) else amount)

    return asked


def fit_memory(wildcards):
    return configuration.fit_memory_mb(config, wildcards.study)


def torch_threads(wildcards):
    return config["studies"][wildcards.study]["torch_threads"]
