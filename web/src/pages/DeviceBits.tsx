// Small pieces that several device pages share.
import type { Device } from '../api/types';
import { t } from '../i18n/t';

/** Data that no sensor measured must never pass for real. */
export function Simulated({ device }: { device: Device }) {
  if (!device.simulated) return null;
  return (
    <span className="rounded border border-line-strong px-1.5 text-[13px] text-muted leading-5">
      {t('device.simulated')}
    </span>
  );
}
