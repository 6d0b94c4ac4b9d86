"""Files of weights from the Hugging Face hub, kept in its cache."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache

from hybridlib.pretrained.catalogue import HUB_FILE, Public


def fetch(public: Public, *, cache: str | Path | None = None) -> Path:
    """The path of the weights in the hub's cache; downloaded if they are not there.

    A file in the cache is used as it is, without a look at the network. No account is used.

    Args:
        cache: the cache's folder; by default the hub's own (~/.cache/huggingface/hub, or where
            HF_HOME points).

    Raises:
        ConnectionError: if it is neither there nor to be had; says what to download by hand.
    """
    cache = cache or constants.HF_HUB_CACHE
    # Not hf_hub_download(local_files_only=True): huggingface-hub 2.4 asks its host something there.
    cached = try_to_load_from_cache(public.hub, HUB_FILE, cache_dir=cache)
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(hf_hub_download(public.hub, HUB_FILE, cache_dir=cache, token=False))
    except Exception as error:  # the hub's client lets several libraries' errors through
        url = hf_hub_url(public.hub, HUB_FILE)
        reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        raise ConnectionError(
            f"the weights {public.name!r} are not in the cache and {HUB_FILE} could not be "
            f"downloaded from {url} ({reason}). Check the network and try again; or download that "
            f'address by hand and give the file: load("{public.name}", file="PATH/{HUB_FILE}")'
        ) from error
