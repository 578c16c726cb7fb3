#!/bin/sh
# System packages, each with what it is and why. As root on Debian or Ubuntu they are installed; otherwise one line
# says what to run. Usage: tools/system.sh setup|demo|test|train|bench
set -eu

missing=""
need() { # package, test, why
  if ! sh -c "$2" >/dev/null 2>&1; then
    echo "needs $1: $3"
    missing="$missing $1"
  fi
}

python="${PYTHON:-python3}"
music() { # what plays the notes of a score
  need fluidsynth "ls /usr/lib/*/libfluidsynth.so.3" "plays what the music app composes"
  need musescore-general-soundfont-small "ls /usr/share/sounds/sf3/MuseScore_General_Lite.sf3" "its instruments (free, MIT)"
}

case "$1" in
  setup)
    need python3-venv "$python -c 'import ensurepip, venv'" "makes .venv, so that nothing is installed into the system"
    music ;;
  demo)
    need fonts-noto-cjk "ls /usr/share/fonts/opentype/noto/NotoSansCJK*.ttc" "draws the Chinese captions of the demo films"
    need espeak-ng "command -v espeak-ng" "speaks the captions of the demo films"
    need bubblewrap "command -v bwrap" "shuts in the algorithm that the demo trains"
    music ;;
  train)
    need bubblewrap "command -v bwrap" "the walls around algorithms; one recipe is trained inside them" ;;
  test | bench)
    need fonts-noto-cjk "ls /usr/share/fonts/opentype/noto/NotoSansCJK*.ttc" "draws Chinese captions in test films"
    need espeak-ng "command -v espeak-ng" "speaks in test films"
    need chromium "command -v chromium" "the browser tests drive the console in it"
    need postgresql "ls /usr/lib/postgresql/*/bin/initdb" "the tests start a PostgreSQL of their own"
    need ffmpeg "command -v ffprobe" "ffprobe reads the labels Malan writes, as a stranger would"
    need bubblewrap "command -v bwrap" "the walls around algorithms; the tests attack them from inside"
    need libimage-exiftool-perl "command -v exiftool" "exiftool reads them too"
    music
    if [ "$1" = bench ]; then
      need libavdevice59 "ls /usr/lib/*/libavdevice.so.*" "torchcodec, a peer of the benchmarks, decodes with the system's FFmpeg"
    fi ;;
esac

[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing$missing …"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >/dev/null
  # shellcheck disable=SC2086
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "Please run:  sudo apt-get install$missing"
  case "$1$missing" in
    demo*) echo "(the demo goes on without: films without Chinese captions, speech or music)" ;;
    "setup fluidsynth"* | "setup musescore"*) echo "(everything but the music app works without)" ;;
    *) exit 1 ;;
  esac
fi
