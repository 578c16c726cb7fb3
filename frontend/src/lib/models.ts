// What the pages show, exactly as `services/clips/browse.py` writes it.

export interface Failure { code: string; message: string; hint: string }

export interface Transition { type: string; first_frame: number; last_frame: number; confidence: number }

export interface ShotRow {
  clip_id: string;
  first_frame: number;
  end_frame: number;
  start_s: number;
  end_s: number;
  transition: Transition;
  tags: string[];
  colour: string | null;
}

export interface CaptionRow {
  text: string;
  first_frame: number;
  end_frame: number;
  start_s: number;
  end_s: number;
  confidence: number | null;
  is_persistent: boolean;
  is_spoken: boolean;
}

export interface Stretch { start_s: number; end_s: number; kind: string; confidence: number | null }

export interface Loudness { start_s: number; step_s: number; values_lufs: (number | null)[]; integrated_lufs: number | null }

export interface Peaks { url: string; count: number; start_s: number; end_s: number }

export interface FindingRow {
  start_s: number;
  end_s: number;
  first_frame: number | null;
  summary: string;
  confidence: number | null;
  reason: string | null;
}

export interface FindingGroup { kind: string; label: string; producer: string; version: string; total: number; rows: FindingRow[] }

export interface Playback {
  url: string;
  kind: "video" | "audio" | "image" | "none";
  mime: string;
  needs_proxy: boolean;
  may_try: boolean;
  reason: string;
  proxy_state: "none" | "running" | "ready" | "failed";
  proxy_url: string;
  proxy_progress: number;
  problem: Failure | null;
}

export interface AssetPage {
  id: string;
  file: string;
  duration_s: number;
  start_s: number;
  frame_count: number;
  frame_rate: number | null;
  frames_url: string;
  aspect: number;
  playback: Playback;
  shots: ShotRow[];
  captions: CaptionRow[];
  stretches: Stretch[];
  loudness: Loudness | null;
  peaks: Peaks | null;
  findings: FindingGroup[];
}

export interface JobRow {
  id: string;
  kind: string;
  title: string;
  state: "queued" | "running" | "done" | "failed" | "cancelled";
  done: number;
  total: number;
  unit: string;
  detail: string;
  started: string;
  ended: string;
  seconds: number;
  error: Failure | null;
  can_retry: boolean;
  can_cancel: boolean;
}

export interface RefusedRow { path: string; code: string; message: string; hint: string; when: string }

export interface JobsPage { jobs: JobRow[]; refused: RefusedRow[]; refused_total: number; running: number; throughput: [string, number][] }
