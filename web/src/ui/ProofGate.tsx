// Asks on whatever page is open, once a change waits for its proof.
import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef, useSyncExternalStore } from 'react';
import { isProofAsked, onProofAsked, settleProof } from '../api/proof';
import { factorsQuery } from '../api/queries';
import { t } from '../i18n/t';
import { Button } from './controls';
import { Prove } from './Prove';

export function ProofGate() {
  const asked = useSyncExternalStore(onProofAsked, isProofAsked);
  return asked ? <Ask /> : null;
}

function Ask() {
  const factors = useQuery(factorsQuery);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      aria-label={t('prove.title')}
      onClose={() => settleProof(false)}
      className="m-auto w-full max-w-md bg-transparent p-4 backdrop:bg-black/50"
    >
      <div className="flex flex-col gap-2">
        <Prove factors={factors.data} done={() => settleProof(true)} />
        <Button onClick={() => settleProof(false)}>{t('prove.leave')}</Button>
      </div>
    </dialog>
  );
}
