// What was refused, in a box that is seen and read out.
import { Octagon } from './icons';

export function Complaint({ children }: { children: string }) {
  return (
    <p role="alert" className="flex gap-2 rounded border border-line border-l-4 border-l-alarm bg-panel p-3">
      <Octagon className="mt-0.5 size-4 text-alarm" />
      {children}
    </p>
  );
}
