#!/bin/bash
# Measure a shipped preset and write its card: reviews, shifts, guard, and what transfer and interference studies say of it.
#   scripts/measure_preset.sh NAME        from the repository's root; data/ as `make weights` and benchmarks/grids/transfer.yaml lay it out
set -e
name=$1
out=runs/reviews/$name
cut=runs/transfer_data
evaluate() { umsrep evaluate "$name" "$@"; }
review() { evaluate "${@:2}" --review "$out/$1" --review-pictures 0; }
make_card() { python scripts/make_preset.py --name "$name" --transfer docs/results/transfer.json "$@"; }
rm -rf "$out" && mkdir -p "$out"
case $name in
ums-cxr-*)
    children=(--targets.pneumonia.column label_binary)
    review test data/cxr_guangzhou --tasks lungs,pneumonia "${children[@]}"
    review published data/cxr_guangzhou --split-column official_split --split test --tasks pneumonia "${children[@]}" --calibrate-on none
    review external data/cxr_external --tasks lungs --calibrate-on none
    adults=adult_pneumonia view=()
    if [ "$name" = ums-cxr-efficientnet-lite0 ]; then adults+=,view view=(--targets.view.column view); fi  # the other has no such head
    review adults data/cxr_nih --tasks $adults --targets.adult_pneumonia.column label \
        --targets.adult_pneumonia.map "{no_finding: normal}" "${view[@]}" --groups sex,view,age:40:60
    review denoising $cut/cxr_guangzhou --tasks denoising --classical
    evaluate $cut/cxr_shifts --tasks lungs,pneumonia,denoising "${children[@]}" --json "$out/shifts.json" --shifts \
        dose,scatter,exposure-under,exposure-over,magnification-up,collimation,pneumoniamnist-gaussian-noise,pneumoniamnist-gaussian-blur,pneumoniamnist-jpeg,burned-in-text
    more=() last=()
    if [ "$name" = ums-cxr-efficientnet-lite0 ]; then  # the study was of that network
        more=(--interference cxr_guangzhou=docs/results/balancing.json --joint fixed
            --interference-note "lite0 from ImageNet, 64 px, 496 images; alone: a third of the budget each"
            --variants "pneumoniamnist28, official test=docs/results/pneumoniamnist.json")
    else
        more=(--interference cxr_guangzhou=docs/results/interference_cbr_tiny.json
            --interference-note "from random weights, 64 px, 496 images; alone: a third of the budget each")
    fi
    # what shifting to adults costs, from the version that never saw cxr_nih: git archive 58a5e53 zoo/weights/ums-cxr-efficientnet-lite0 | tar x -C runs
    if [ "$name" = ums-cxr-efficientnet-lite0 ] && [ -d runs/zoo/weights/$name ]; then
        umsrep evaluate runs/zoo/weights/$name data/cxr_nih --tasks pneumonia --targets.pneumonia.column label \
            --targets.pneumonia.map "{no_finding: normal}" --calibrate-on none --review "$out/never_saw" --review-pictures 0
        last=(--review "cxr_nih, never seen=$out/never_saw:shift:version 0")
    fi
    make_card "${more[@]}" --review "cxr_guangzhou=$out/test" --review "cxr_guangzhou, published test=$out/published" --review "cxr_nih=$out/adults" \
        --review "cxr_guangzhou, 300 rows of test=$out/denoising" --review "cxr_external=$out/external:shift" \
        "${last[@]}" --shifts "cxr_guangzhou (100 rows)=$out/shifts.json"
    ;;
ums-us-*)
    review nerve data/us_nerve --tasks nerve,denoising --classical
    review lung data/us_lung --tasks lung --targets.lung.column label_binary --groups probe,type
    review denoising $cut/us_lung --tasks denoising
    evaluate data/us_nerve --tasks nerve,denoising --json "$out/shifts.json" --shifts \
        gain-up,gain-down,tgc-up,tgc-down,depth-up,depth-down,probe-frequency-down,breastmnist-speckle-noise,pneumoniamnist-gaussian-noise,burned-in-text
    make_card --review "us_nerve=$out/nerve" --review "us_lung=$out/lung:shift" --review "us_lung, 300 rows of test=$out/denoising:shift" \
        --shifts "us_nerve=$out/shifts.json" --interference "us_nerve and us_lung=docs/results/interference_us.json" \
        --interference-note "lite0 from ImageNet, 64 px; alone: a third of the budget each"
    ;;
ums-doppler-*)
    review test data/doppler_other --tasks envelope,flow,denoising --noise speckle --level 50
    evaluate $cut/doppler_shifts --tasks envelope,flow --json "$out/shifts.json" --shifts \
        doppler-gain-up,doppler-gain-down,velocity-scale-up,velocity-scale-down,sweep-faster,sweep-slower,pneumoniamnist-gaussian-noise,burned-in-text
    make_card --review "doppler, other simulated patients=$out/test" --shifts "doppler (100 rows)=$out/shifts.json" \
        --interference "doppler=docs/results/interference_doppler.json" \
        --interference-note "lite0 from ImageNet, 64 px, 600 spectra; alone: a third of the budget each"
    ;;
*) echo "no recipe for $name" >&2 && exit 2 ;;
esac
python scripts/guard_rates.py "$name" --data data
python scripts/make_preset.py --name "$name" --time
