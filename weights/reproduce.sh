#!/bin/sh
# Make tagcli-msd50 anew, and say how closely it follows its teachers: sh weights/reproduce.sh MUSIC OUT
# MUSIC is the folder of music that README.md names, OUT a new folder; a run that was stopped goes on.
set -eu
if [ $# -ne 2 ] || [ ! -d "$1" ]; then
    echo "usage: sh $0 MUSIC OUT, with tagcli installed; MUSIC is a folder that is there" >&2
    exit 2
fi
music=$1
out=$2
recipe=$(dirname "$0")/tagcli-msd50.toml
run=$out/tagcli-msd50
mkdir -p "$out"
tagcli weights pull won2020-msd-fcn won2020-msd-crnn
[ -e "$out/music.tsv" ] || tagcli dataset build "$music" --unlabelled --folds 5 -o "$out/music.tsv"
tagcli train "$out/music.tsv" --out "$run" --config "$recipe" --resume
tagcli eval "$run" "$run/dataset.tsv" --split fold-1 --calibrate as-often --save "$out/tagcli-msd50.safetensors"
for teacher in won2020-msd-fcn won2020-msd-crnn; do
    tagcli eval "$run" "$out/music.tsv" --split fold-1 --teacher "$teacher"
done
