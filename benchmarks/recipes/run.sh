#!/bin/bash
# Train the encoders of benchmarks/grids/recipes.yaml, from the repository's root, with data/ laid out. moco needs the extra: pip install "umsrep[ssl]".
# The numbers of steps take 150 seconds of a core each (.55, .48, .28 and .61 s a step: docs/LOG.md, 2026-11-29); a recipe in two parts gives each half of it.
set -e
declare -A steps=([supervised]=274 [denoising]=314 [masked]=540 [moco]=247)
train() {  # NAME RECIPE SHARE [more options]
    local command=pretrain
    [ "$2" = supervised ] && command=finetune
    umsrep $command --config benchmarks/recipes/$2.yaml --output runs/recipes/$1 --max_steps $((${steps[$2]} / $3)) --workers 0 "${@:4}"
}
for recipe in supervised denoising masked moco; do train $recipe $recipe 1; done
for first in denoising moco; do
    train $first-half $first 2
    train $first-supervised supervised 2 --encoder "{name: runs/recipes/$first-half/model}"
done
python - <<'P'
from umsrep.zoo import Encoder

for name in ("supervised", "denoising", "masked", "moco", "denoising-supervised", "moco-supervised"):
    Encoder.from_pretrained(f"runs/recipes/{name}/model").save_pretrained(f"runs/recipes/encoders/{name}")  # without heads
P
