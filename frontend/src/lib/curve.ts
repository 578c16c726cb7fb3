// Curves by ECharts: loudness under the timeline, throughput of the jobs. Only the parts used are in the bundle.
import { BarChart, LineChart } from "echarts/charts";
import { GridComponent, MarkLineComponent } from "echarts/components";
import { init, use, type EChartsType } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { themeColour } from "./dom";

use([LineChart, BarChart, GridComponent, MarkLineComponent, CanvasRenderer]);

export const QUIETEST_LUFS = -60;

/** A loudness curve over time; `view` moves it with the timeline. */
export class LoudnessCurve {
  private chart: EChartsType;

  constructor(box: HTMLElement, private readonly points: [number, number][], private readonly integrated: number | null) {
    this.chart = init(box, null, { renderer: "canvas" });
    this.paint();
    new ResizeObserver(() => this.chart.resize()).observe(box);
  }

  view(from: number, to: number): void {
    this.chart.setOption({ xAxis: { min: from, max: to } });
  }

  /** Draw anew, after the theme changed. */
  paint(): void {
    const colour = themeColour("loud");
    const line = this.integrated === null ? undefined : {
      silent: true, symbol: "none", label: { show: false }, lineStyle: { color: colour, type: "dashed" as const, opacity: 0.6 }, data: [{ yAxis: this.integrated }],
    };
    this.chart.setOption({
      animation: false,
      grid: { left: 0, right: 0, top: 4, bottom: 0 },
      xAxis: { type: "value", show: false, min: "dataMin", max: "dataMax" },
      yAxis: { type: "value", show: false, min: QUIETEST_LUFS, max: 0 },
      series: [{
        type: "line", data: this.points, showSymbol: false, silent: true, sampling: "max", markLine: line,
        lineStyle: { color: colour, width: 1.25 }, areaStyle: { color: colour, opacity: 0.16, origin: "start" },
      }],
    });
  }
}

/** Bars of what was done in each stretch of time, newest on the right. */
export class ThroughputBars {
  private chart: EChartsType;

  constructor(box: HTMLElement) {
    this.chart = init(box, null, { renderer: "canvas" });
    new ResizeObserver(() => this.chart.resize()).observe(box);
  }

  show(bars: [string, number][]): void {
    this.chart.setOption({
      animation: false,
      grid: { left: 0, right: 0, top: 4, bottom: 0 },
      xAxis: { type: "category", show: false, data: bars.map(([when]) => when) },
      yAxis: { type: "value", show: false, min: 0 },
      series: [{ type: "bar", silent: true, barCategoryGap: "22%", itemStyle: { color: themeColour("accent"), opacity: 0.75, borderRadius: [2, 2, 0, 0] }, data: bars.map(([, value]) => value) }],
    });
  }
}
