# The workflow with its pinned packages, as an alternative to .venv and conda: docs/environments.md.
ARG BASE=python:3.11.14-slim-bookworm
FROM ${BASE}

# g++ compiles training steps and brings libgomp, which gradient boosting and GPBoost load.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends "g++=4:12.2.*" \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1
WORKDIR /opt/armed-bench
COPY constraints.txt ./
# Empty: torch as the package index has it, on Linux with CUDA. The address of PyTorch's index of CPU builds makes a smaller image.
ARG TORCH_INDEX=
RUN python3 -m venv /opt/venv \
    && python -m pip install -c constraints.txt ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch==2.13.0
COPY . ./
RUN python -m pip install -c constraints.txt -e ".[workflow]" \
    && python -m compileall -q armed baselines

# Not root. The home is for any user, so that `--user` can name the one who owns the results; USER names it to torch, which
# else asks for an account.
RUN useradd --uid 1000 --home-dir /home/armed armed \
    && install --directory --mode=1777 /home/armed /data
ENV HOME=/home/armed \
    USER=armed
USER 1000
ENTRYPOINT ["snakemake", "--snakefile", "/opt/armed-bench/workflow/Snakefile", "--directory", "/data"]
CMD ["--cores", "all"]
